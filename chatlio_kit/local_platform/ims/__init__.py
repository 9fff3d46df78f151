"""Access: tokens, the local account, permissions, sandboxes."""
