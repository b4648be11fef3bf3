"""`python -m mailwarden_services.cli`: the same as `mailwarden`."""

from mailwarden_services.cli import run

if __name__ == "__main__":
    run()
