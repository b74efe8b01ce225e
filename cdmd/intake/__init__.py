"""The way in: mapping and minimising, the door, the bounded queue before the journal, and the HTTP edge."""
