"""The contract: request and response types, the operations table and the document made from them."""
