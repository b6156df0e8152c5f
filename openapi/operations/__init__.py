"""The operations of the API that lightship has, one module a resource; the table is put together in `table`."""
