"""What each operation does: decode, call one service, encode. One module a resource; `table` has all of them."""
