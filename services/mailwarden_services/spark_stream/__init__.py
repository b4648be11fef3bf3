"""The online fold as a Spark Structured Streaming job, in place of the feature writer's partitions."""
