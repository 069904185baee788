"""What makes nodes a managed cluster, without IO: identities, tickets, joining, edits of the configuration's text."""
