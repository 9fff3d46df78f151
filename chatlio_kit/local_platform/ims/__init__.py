"""Who may call: tokens, the local account, permissions, sandboxes."""
