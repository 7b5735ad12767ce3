"""A bank's payment stream with every typology injected and labelled, seeded."""
