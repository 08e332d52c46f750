from crrn.cli.resume_check import main

if __name__ == "__main__":
    main()
