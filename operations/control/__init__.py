"""Control seen from outside: the orders that were given, and lists of workers, limits and breakers."""
