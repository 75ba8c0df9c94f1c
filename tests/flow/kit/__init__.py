"""What the flow tests are made of: a strict parser that knows nothing of the
proxy's own, an origin and a client that say exactly the octets they are told."""
