"""Photos and mattes to crops, landmarks, shape mask, p(alpha) and LMDB."""
