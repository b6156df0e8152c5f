"""Networks: the default bridge, addresses, endpoints, published ports and the firewall."""
