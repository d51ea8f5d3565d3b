"""The application's databases: a driver for each kind of connection, and the tables that Stoker keeps there."""
