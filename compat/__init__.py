"""What differs between API versions: version gates on requests and responses, and the table of what is missing."""
