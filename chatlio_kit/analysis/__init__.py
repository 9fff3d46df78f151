"""Tables to answers: metrics and figures."""
