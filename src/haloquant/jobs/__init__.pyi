from .devices import job_devices as job_devices
from .evaluation import evaluate_model as evaluate_model
from .evaluation import evaluate_tasks as evaluate_tasks
from .evaluation import open_model as open_model
from .explain_tiles import explain_layer as explain_layer
from .exploration import explore as explore
from .inputs import Inputs as Inputs
from .inputs import model_folder as model_folder
from .inputs import read_inputs as read_inputs
from .inputs import read_text as read_text
from .provenance import job_provenance as job_provenance
from .recipe_checks import check_job as check_job
from .recipe_checks import check_profile as check_profile
from .recipe_checks import require_packages as require_packages

__all__ = [
    "Inputs",
    "check_job",
    "check_profile",
    "evaluate_model",
    "evaluate_tasks",
    "explain_layer",
    "explore",
    "job_devices",
    "job_provenance",
    "model_folder",
    "open_model",
    "read_inputs",
    "read_text",
    "require_packages",
]
