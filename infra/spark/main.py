"""What `spark-submit --deploy-mode cluster` runs: the command line, in a folder of its own.

Spark puts the folder of the file that it runs first on the path, so nothing else may lie beside this one.
"""

from mailwarden_services.cli import run

if __name__ == "__main__":
    run()
