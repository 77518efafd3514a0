"""The rendered Compose stack in real containers. Needs root and a distribution that has Docker Engine; see daemon.py."""
