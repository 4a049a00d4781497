"""What `rolekeeper doctor` looks at: a probe for each link of the chain; `chain` has them in order.

A probe yields findings, and raises a RolekeeperError when its link is broken by one. It reuses the code that an attempt
runs, so that the doctor and the daemon cannot disagree about what is right.
"""
