"""The API's data types, one module a resource; attributes in snake case, API names on the wire."""
