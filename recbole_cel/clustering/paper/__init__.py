"""The paper's policy: split by GPCA, and move each entity to the cluster with the least loss."""
