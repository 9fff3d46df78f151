"""What Chatlio says: kinds, shapes, fields, ids and times."""
