"""The practice internet: DNS, mailbox providers with tempers, a load generator and a sink; imports no stage."""
