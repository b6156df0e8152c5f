"""Networks and addresses by plugins of Docker's plugin protocol: what they are asked, and what follows from it."""
