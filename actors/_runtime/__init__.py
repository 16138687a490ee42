"""What actors stand on: clock, timers, parking, threads, the io loop, and the seeded world of tests."""
