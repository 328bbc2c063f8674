"""Music that nano learns from: scores composed from tags, so that what is said of them is true, and their sound."""
