"""Home, the project's dashboard and every manager's page that spans apps."""
