"""From the files of a commit to resolved hosts: read, check against schemas, resolve references and inheritance."""
