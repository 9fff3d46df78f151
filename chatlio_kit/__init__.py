"""Chatlio live-chat history into Adobe Experience Platform."""
