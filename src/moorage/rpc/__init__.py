"""gRPC over unix sockets: a server and a client that speak in the types of `moorage.spec`."""
