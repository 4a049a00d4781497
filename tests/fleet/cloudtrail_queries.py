"""packaging/aws/cloudtrail.sql against events: as JSON, the rows of each query.

Run by the interpreter that has sqlglot and DuckDB. The first reads the queries by the grammar of Trino, which is
Athena's, and the second runs them. argv[1] has the queries; standard input has CloudTrail's records.
"""

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import sqlglot

# The columns that the queries use, as "Create Athena table" in the CloudTrail console declares them.
TABLE = """
CREATE TABLE cloudtrail_logs (
    useridentity STRUCT(type VARCHAR, principalid VARCHAR, arn VARCHAR),
    eventtime VARCHAR, eventsource VARCHAR, eventname VARCHAR, sourceipaddress VARCHAR,
    errorcode VARCHAR, errormessage VARCHAR, requestparameters VARCHAR
)
"""
INSERT = "INSERT INTO cloudtrail_logs VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
COLUMNS = ["eventTime", "eventSource", "eventName", "sourceIPAddress", "errorCode", "errorMessage"]


def row(record: dict[str, Any]) -> list[Any]:
    """A record as Athena's reader of CloudTrail files sees it: what is nested deeper than the identity is text."""
    identity = {name.lower(): record["userIdentity"].get(name) for name in ("type", "principalId", "arn")}
    parameters = record.get("requestParameters")
    return [identity, *map(record.get, COLUMNS), json.dumps(parameters) if parameters else None]


with duckdb.connect() as database:
    database.execute("SET TimeZone = 'UTC'")
    database.execute(TABLE)
    database.executemany(INSERT, [row(one) for one in json.load(sys.stdin)])
    results = []
    for query in sqlglot.transpile(Path(sys.argv[1]).read_text(), read="athena", write="duckdb"):
        found = database.execute(query)
        names = [column[0] for column in found.description]
        results.append([dict(zip(names, one, strict=True)) for one in found.fetchall()])
sys.stdout.write(json.dumps(results, default=str))
