"""Mail read in processes of their own, which end where one message takes them too long."""
