"""The practice internet: DNS, mailbox providers with tempers, load generator and sink; imports no stage."""
