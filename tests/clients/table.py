"""The clients: how each is started as one long-lived process, and what it has to be given beside the way.

A program of `programs/` asks every two seconds. A tool copies many files, or a stream, to a store that takes its time.
In a command, `{door}` is the service's URL and `{host}` its host and port, `{files}` a directory with many small files,
`{programs}`, `{built}` and `{python}` are where the programs, what was built of them, and the Python of
packaging/clients.txt are. Environment variables may name those of the way.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Client:
    """`version` and `command` are lines of the shell; `needs` are files and programs without which it is skipped.

    `configure` says what a person sets beside the way, in the words of docs/clients.md; `environment` sets it here.
    `prepare` is run to its end before the long-lived process. `pace`: how many seconds each answer takes.
    """

    name: str
    needs: tuple[str, ...]
    version: str
    command: str
    configure: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    prepare: str = ""
    pace: float = 0


def debian(package: str) -> str:
    """The version of a package, as upstream counts."""
    return f"dpkg-query --show --showformat '${{Version}}' {package}"


PACE = 0.7  # seconds
LOAD_CONFIG = {"AWS_SDK_LOAD_CONFIG": "1"}
AWS_COPY = "s3 cp --recursive --quiet --no-progress {files} s3://bucket/ --endpoint-url {door}"
GO = "/usr/share/gocode/src/github.com"
MODULES = "{built}/node_modules"
STREAM = "while head -c 4500000 /dev/urandom; do sleep 0.5; done"  # restic sends packs of 4 MiB and more

CLIENTS = (
    Client(
        "boto3",
        ("{own}",),
        "{own} -c 'import boto3; print(boto3.__version__)'",
        "exec {own} {programs}/boto3_loop.py",
    ),
    Client(
        "boto3 (Debian 12)",
        ("/usr/lib/python3/dist-packages/boto3",),
        "/usr/bin/python3 -c 'import boto3; print(boto3.__version__)'",
        "exec /usr/bin/python3 {programs}/boto3_loop.py",
    ),
    Client(
        "aiobotocore",
        ("{python}",),
        "{python} -c 'import aiobotocore; print(aiobotocore.__version__)'",
        "exec {python} {programs}/aiobotocore_loop.py",
    ),
    Client(
        "AWS CLI v1, `s3 cp`",
        ("{own}",),
        "{own} -m awscli --version",
        "exec {own} -m awscli " + AWS_COPY,
        pace=PACE,
    ),
    Client(
        "AWS CLI v2 (Debian 12), `s3 cp`",
        ("/usr/bin/aws",),
        "/usr/bin/aws --version",
        "exec /usr/bin/aws " + AWS_COPY,
        pace=PACE,
    ),
    Client(
        "JavaScript SDK v3",
        ("node", MODULES + "/@aws-sdk/client-sts"),
        "node -p 'require(\"" + MODULES + "/@aws-sdk/client-sts/package.json\").version'",
        "exec node {built}/javascript_v3.mjs",
    ),
    Client(
        "JavaScript SDK v2",
        ("node", MODULES + "/aws-sdk"),
        "node -p 'require(\"" + MODULES + "/aws-sdk/package.json\").version'",
        "exec node {built}/javascript_v2.mjs",
        "`AWS_SDK_LOAD_CONFIG=1`, and a file that `AWS_CONFIG_FILE` names, for all but the endpoint",
        LOAD_CONFIG,
    ),
    Client(
        "Go SDK v1 (Debian 12)",
        ("{built}/go_v1",),
        debian("golang-github-aws-aws-sdk-go-dev"),
        "exec {built}/go_v1",
        "`AWS_SDK_LOAD_CONFIG=1` for the config file",
        LOAD_CONFIG,
    ),
    Client(
        "Go SDK v2 (Debian 12)",
        ("{built}/go_v2",),
        debian("golang-github-aws-aws-sdk-go-v2-dev"),
        "exec {built}/go_v2",
    ),
    Client(
        "minio-go (Debian 12)",
        ("{built}/minio",),
        debian("golang-github-minio-minio-go-v7-dev"),
        "exec {built}/minio",
        "`FileAWSCredentials` and `IAM` in its chain",
    ),
    Client(
        "Ruby SDK v3 (Debian 12)",
        ("ruby", "/usr/share/doc/ruby-aws-sdk-core"),
        debian("ruby-aws-sdk-core"),
        "exec ruby {programs}/ruby_loop.rb",
    ),
    Client(
        "AsyncAws for PHP (Debian 12)",
        ("php", "/usr/share/php/AsyncAws/Core/autoload.php"),
        debian("php-async-aws-core"),
        "exec php {programs}/async_aws_loop.php",
    ),
    Client(
        "C++ SDK, by pyarrow",
        ("{python}",),
        "{python} -c 'import pyarrow; print(pyarrow.__version__)'",
        "exec {python} {programs}/pyarrow_loop.py",
    ),
    Client(
        "Rust's object_store, by obstore",
        ("{python}",),
        "{python} -c 'import importlib.metadata as m; print(m.version(\"obstore\"))'",
        "exec {python} {programs}/obstore_loop.py",
        "the URI and the token's file in its unit, because it does not take the token from the environment",
    ),
    Client(
        "restic (Debian 12), `backup --stdin`",
        ("restic",),
        "restic version",
        STREAM + " | restic backup --stdin --no-cache --quiet",
        environment={
            "RESTIC_REPOSITORY": "s3:{door}/bucket",
            "RESTIC_PASSWORD": "a password",
            "GOMAXPROCS": "1",
        },
        prepare="restic init --no-cache",
    ),
    Client(
        "rclone (Debian 12), `copy`",
        ("rclone",),
        "rclone version",
        "exec rclone copy {files} :s3:bucket/x --transfers 1 --checkers 1",
        "`env_auth = true`",
        {
            "RCLONE_S3_ENV_AUTH": "true",
            "RCLONE_S3_PROVIDER": "Other",
            "RCLONE_S3_ENDPOINT": "{door}",
            "RCLONE_S3_NO_CHECK_BUCKET": "true",
        },
        pace=PACE,
    ),
    Client(
        "s3cmd (Debian 12), `put`",
        ("/usr/bin/s3cmd",),
        "/usr/bin/s3cmd --version",
        "exec /usr/bin/s3cmd --no-ssl --host={host} --host-bucket={host} --quiet put --recursive {files} s3://bucket/",
        "`AWS_CREDENTIAL_FILE` in place of `AWS_SHARED_CREDENTIALS_FILE`, and `AWS_PROFILE=default`",
        {"AWS_CREDENTIAL_FILE": "{AWS_SHARED_CREDENTIALS_FILE}", "AWS_PROFILE": "default"},
        pace=PACE,
    ),
    Client(
        "s5cmd, `cp`",
        ("{python}",),
        "{s5cmd} version",
        "exec {s5cmd} --endpoint-url {door} --numworkers 1 cp {files}/ s3://bucket/",
        "`AWS_SDK_LOAD_CONFIG=1` for the config file",
        LOAD_CONFIG,
        pace=PACE,
    ),
)

# What could not be tried, and why.
NOT_TRIED = {
    "Java SDK v1 and v2": "neither Debian nor a registry that the tests use has them",
    "AWS SDK for PHP, Paws for Perl": "Debian has neither; its Perl modules for S3 take keys, and look nowhere",
    ".NET": "Debian does not have it",
    "fluent-bit, telegraf, Vector": "Debian does not have them",
    "the versions of Debian 13": "the matrix was measured on Debian 12",
}
