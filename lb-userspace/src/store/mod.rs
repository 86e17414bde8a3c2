//! What is known now, and what changed.
