"""What an outcome means, and the reports that go back to the sender."""
