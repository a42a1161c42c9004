"""Groups, precedence, provenance and vault ids of Ansible variables, against the real Ansible."""
