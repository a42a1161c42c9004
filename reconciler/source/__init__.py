"""Git as the source of desired state: repositories, their mirrors, working copies; read, never written."""
