"""A client that openapi-python-client generates from the document: `generated.py URL AUTHORITY KEY FOLDER`.

Every request and every response goes through the generated code, which parses them as the document says.
"""

import importlib
import pathlib
import ssl
import subprocess
import sys
import urllib.request

_, url, authority, key, folder = sys.argv

context = ssl.create_default_context(cafile=authority)
document = pathlib.Path(folder) / "openapi.json"
document.write_bytes(urllib.request.urlopen(f"{url}/api/v1/openapi.json", context=context).read())
command = [sys.executable, "-m", "openapi_python_client", "generate", "--path", str(document), "--meta", "none"]
generated = subprocess.run(
    [*command, "--output-path", f"{folder}/gateway_client"], capture_output=True, text=True, check=False
)
assert generated.returncode == 0, generated.stdout + generated.stderr
assert "warning" not in generated.stdout.lower(), generated.stdout
sys.path.insert(0, folder)


def operation(tag, name):
    """The generated function for an operation, with the whole response."""
    return importlib.import_module(f"gateway_client.api.{tag}.{name}").sync_detailed


models = importlib.import_module("gateway_client.models")
clients = importlib.import_module("gateway_client")
# The server of the document is the host that serves it.
client = clients.AuthenticatedClient(base_url=url, token=key, prefix="Token", verify_ssl=context)

made = operation("users", "create_user")(client=client, body=models.NewUser(name="généré", email="g@example.test"))
assert made.status_code == 201, made
user = made.parsed.user if hasattr(made.parsed, "user") else made.parsed
listed = operation("users", "list_users")(client=client, username="généré")
assert [one.name for one in listed.parsed.users] == ["généré"], listed
assert operation("users", "list_users")(client=client, username="généré ").parsed.users == []
found = operation("users", "list_users")(client=client, search="ÉNÉR")
assert [one.name for one in found.parsed.users] == ["généré"], found

taken = operation("users", "create_user")(client=client, body=models.NewUser(name="généré"))
assert taken.status_code == 409, taken
assert [one.pointer for one in taken.parsed.errors] == ["#/name"], taken.parsed
wrong = operation("users", "create_user")(client=client, body=models.NewUser(name="x", email="a\r\nb"))
assert wrong.status_code == 422 and [one.pointer for one in wrong.parsed.errors] == ["#/email"], wrong
print("done")
