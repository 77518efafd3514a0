"""What several test files share: real servers, a network without a way out."""
