"""Public fakes for tests of code that builds on Moorage, one module per layer."""
