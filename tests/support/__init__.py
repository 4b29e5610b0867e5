"""What tests share: real servers to speak to."""
