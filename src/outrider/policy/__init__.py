"""Policy: decides for each recipient how it goes out. Today by configuration; hooks come with scripts."""
