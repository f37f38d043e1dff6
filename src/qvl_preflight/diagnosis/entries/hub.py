"""What Hugging Face's hub refuses, and names that are no checkpoint."""

from qvl_preflight.diagnosis.entry import Entry
from qvl_preflight.symptoms import Symptom

_HOST = r"(huggingface\.co|hf-mirror|hf\.co)"
ENTRIES = (
    Entry("QVL970", "no-access-to-the-repository", "hub-access", "The hub does not give this repository to this account: it is gated or private, or no valid token was sent.",
          "Ask for access on the model's page with your account, then log in where the program runs: `hf auth login` (`huggingface-cli login` before huggingface_hub 0.34), or set HF_TOKEN; a fine-grained token must be allowed to read gated repositories.",
          (Symptom(r"You are trying to access a gated repo", weight=.97), Symptom(type="GatedRepoError", weight=.97), r"Cannot access gated repo for url", r"Access to model \S+ is restricted", r"is a gated repository\. Make sure to request access",
           Symptom(rf"(401|403) Client Error.{{0,200}}{_HOST}", weight=.8), Symptom(rf"403 Forbidden: .{{0,250}}Cannot access content at: \S{{0,20}}{_HOST}", weight=.9, source="the hub's answer, which huggingface_hub repeats"), Symptom(r"Invalid user token|Invalid username or password|token .{0,60}(is invalid|not valid|expired)", within=r"huggingface_hub|transformers", beside=_HOST, weight=.7))),
    Entry("QVL971", "no-such-checkpoint", "checkpoint-not-found", "The name is neither a folder on this machine nor a repository of the hub that this account sees.",
          "A folder: see from the directory where the program runs that it exists, `ls FOLDER/config.json`. A name of the hub: compare it with the model's page, letter for letter. A private one: log in, or pass token=.",
          (Symptom(r"is not a local folder and is not a valid model identifier", weight=.85), Symptom(r"Repo id must be in the form 'repo_name' or 'namespace/repo_name'", weight=.85), Symptom(r"Repo id must use alphanumeric chars", weight=.8), Symptom(type="RepositoryNotFoundError", weight=.75), Symptom(rf"Repository Not Found for url: \S{{0,20}}{_HOST}", weight=.75))),
)  # fmt: skip
