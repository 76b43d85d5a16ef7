"""What is special about a kind of target: its address, naming rule, credentials, and how a repository comes to be."""
