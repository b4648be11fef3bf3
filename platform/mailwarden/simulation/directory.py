"""The company's directory: who works there, as what, for whom."""

from __future__ import annotations

import csv
from pathlib import Path

from mailwarden.errors import DataError
from mailwarden.simulation.company import Company
from mailwarden.simulation.people import Person

COLUMNS = ("address", "name", "role", "department", "manager", "vip")
_ROLES = {
    "executive": ("Chief Executive", "Chief Financial Officer", "Chief Operating Officer"),
    "finance": ("Head of Finance", "Accounts Payable Clerk", "Controller", "Payroll Accountant"),
    "hr": ("Head of People", "HR Partner"),
    "sales": ("Head of Sales", "Account Manager", "Sales Engineer"),
    "engineering": ("Head of Engineering", "Engineer", "Senior Engineer", "Technician"),
    "operations": ("Head of Operations", "Buyer", "Logistics Planner"),
    "support": ("Head of Support", "Support Agent"),
}


def entries(company: Company) -> list[tuple[Person, str, str, bool]]:
    """Each employee with role, the manager's address ("" for the chief), and whether attackers like to play them."""
    found = []
    for department in dict.fromkeys(person.department for person in company.people):
        members = company.department(department)
        titles = _ROLES.get(department, (department,))
        for number, person in enumerate(members):
            rest = titles[1:] or titles
            role = titles[0] if number == 0 else rest[(number - 1) % len(rest)]
            boss = company.chief if number == 0 else members[0]
            vip = department == "executive" or (number == 0 and department in ("finance", "hr"))
            found.append((person, role, "" if boss is person else boss.address, vip))
    return found


def write_directory(path: Path, company: Company) -> Path:
    """Write the directory as CSV (address, name, role, department, manager, vip) and return its path.

    manager: an address, empty for the chief; vip: yes or no. Raises DataError where it cannot be written.
    """
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(COLUMNS)
            for person, role, manager, vip in entries(company):
                rows.writerow((person.address, person.name, role, person.department, manager, "yes" if vip else "no"))
    except OSError as failure:
        raise DataError(f"simulation: cannot write {failure.filename or path}; check space and rights") from failure
    return path
