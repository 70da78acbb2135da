"""Put an archive of ``espnet_psslm.bin.pack`` on the Hugging Face hub, unpacked, as ESPnet does.

    upload_pack.py --archive exp/psslm.zip --repo name/model

Log in before with ``hf auth login``.
"""

import argparse
import tempfile
import zipfile
from collections.abc import Sequence


def main(cmd: Sequence[str] | None = None) -> None:
    """Unpack and upload."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--archive", required=True)
    parser.add_argument("--repo", required=True, help="name/model; made where it is missing")
    args = parser.parse_args(cmd)

    from huggingface_hub import HfApi

    api = HfApi()
    with tempfile.TemporaryDirectory() as folder:
        try:
            with zipfile.ZipFile(args.archive) as archive:
                archive.extractall(folder)
            api.create_repo(args.repo, exist_ok=True)
            api.upload_folder(repo_id=args.repo, folder_path=folder)
        # No class is common to what the hub's client raises for connection, login and name.
        except Exception as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SystemExit(
                f"upload_pack: error: {args.archive} to {args.repo}: {reason} "
                "(log in with: hf auth login)"
            ) from error
    print(f"uploaded {args.archive} to {args.repo}")


if __name__ == "__main__":
    main()
