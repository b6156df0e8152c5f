"""The classic builder's door, `POST /build`: a tar of files in, a stream of messages out, on the same builder."""
