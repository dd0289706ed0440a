"""What is seen in a photo before its matte is solved."""
